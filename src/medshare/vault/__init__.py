"""The vault: sealed parcels at rest on a station, in the same octets as everywhere."""
