"""Django's PostgreSQL backend, with a patient first connection."""
