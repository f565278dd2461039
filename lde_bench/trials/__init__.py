"""What one training run is, for densities and for models of images, and the trained weights that trials share."""
