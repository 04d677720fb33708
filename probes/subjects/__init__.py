"""The subjects: networks with their weights, on the images of a dataset."""
