"""Where results lie in the bucket, for who wants to fetch them."""
