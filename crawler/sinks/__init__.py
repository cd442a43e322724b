"""Where results go. Each sink takes its part of a group and makes it durable; peers never import each other."""
