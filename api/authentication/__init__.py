"""Who somebody is: tokens for service accounts."""
