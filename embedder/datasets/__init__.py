"""Where the pictures come from that towers are trained and measured on: folders, tables, pairs, and the shipped data sets."""
