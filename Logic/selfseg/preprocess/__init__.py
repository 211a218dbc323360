"""From a case as read to a case as the network takes it, with the record to undo it."""
