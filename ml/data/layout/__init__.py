"""Read a data set's images, classes and splits from folders, file names, CSV files and zip archives."""
