"""A regression gate for pretrained image classifiers; the way of the data is data -> evaluation -> gate."""
