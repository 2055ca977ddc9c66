"""Which prompts: targets, anchors, what is retained, and the templates they are made from."""
