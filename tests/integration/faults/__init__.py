"""What fault tests share: a proxy that harms, raw dumps by the stock client, a history and its checker."""
