"""torchvision's published weights: found in torch's cache or downloaded, and verified before they are loaded."""
