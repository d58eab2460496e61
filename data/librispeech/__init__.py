"""LibriSpeech, and any folder in its layout."""
