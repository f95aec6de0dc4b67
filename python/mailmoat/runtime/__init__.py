"""What receiving and delivery share in a worker: timers and the spool on the loop."""
