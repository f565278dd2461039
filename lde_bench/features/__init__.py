"""Features of images by networks trained on other photographs: for a perceptual loss, and as a space of measures."""
