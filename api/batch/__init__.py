"""Work that ends: Jobs and CronJobs. Read `job.py` first."""
