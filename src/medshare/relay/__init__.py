"""The relay: a mailbox for sealed parcels that holds no key which opens anything.

From the wire inwards: `app` answers requests, `admission` knows who asks, `handlers` say what
each request does, `parcels` holds the rules, `files` and `database` keep what is stored.
Nothing here may import what decrypts; `envelope` and `seal` are checked with public keys.
"""
