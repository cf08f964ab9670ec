"""Parts of the analysis of an evaluation: resampling, the verdict, and what is odd; see `transition.analyze`."""
