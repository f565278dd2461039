"""Autoencoders, images to codes and back: one file, one model; made by `lde_bench.generators.create_generator`."""
