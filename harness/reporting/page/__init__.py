"""The page to look at: one file of HTML that needs no network and no script."""
