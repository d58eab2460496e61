"""Live recognition of many streams at once, and the page that shows it."""
