"""What is probed: networks with their weights, on the images of a dataset."""
