"""What `make check` refuses in a revision, and how it finds out: by its words, and by what it does to rows."""
