"""What PostgreSQL knows of itself: each file is one subject, mostly SQL that returns typed rows."""
