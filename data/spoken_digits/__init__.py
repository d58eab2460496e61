"""Single spoken digits: the Free Spoken Digit Dataset."""
