"""Bad input for whole commands: sound things, what is done to them, and what has to be said."""
