"""Between this package and others: each module needs the package that it is named after."""
