"""speechocean762: English sentences and digit strings read by Mandarin speakers."""
