"""Export: canonical rows to a Hugging Face dataset, or to the files a trainer reads."""
