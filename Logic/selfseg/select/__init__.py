"""Which of the trained models to trust, decided on cases they have not seen."""
