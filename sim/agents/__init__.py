"""Who takes part in a simulated market, and how: buyers of jobs, classic traders."""
