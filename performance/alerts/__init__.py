"""What somebody must be told: rules, what they find, and who hears of it."""
