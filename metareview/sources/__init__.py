"""Raw reviews: from files, tables, forms, the Hub and OpenReview."""
