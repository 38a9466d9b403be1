"""Show what a conversion tried, and why it shipped what it shipped."""
