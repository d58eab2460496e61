"""The Ur-Quan Masters' recorded dialogues."""
