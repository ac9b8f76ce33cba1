"""What a service offers, as documents: OpenRPC, typed clients written from it, and what breaks between two of them."""
