"""Long form: a book, script, article or advertisement whose structure the program keeps while a model writes it."""
