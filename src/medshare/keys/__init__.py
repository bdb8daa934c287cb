"""Where secret keys live: an encrypted file, and later tokens, behind the interface of `base`."""
