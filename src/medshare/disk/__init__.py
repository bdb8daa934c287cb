"""What touches the local disk: sources, received files, journals, stored parcels.

Names that come from elsewhere reach the disk through `incoming` alone.
"""
