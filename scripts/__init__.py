"""What the Makefile calls that is neither training nor serving."""
