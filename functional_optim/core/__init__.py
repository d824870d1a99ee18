"""What every transformation stands on: protocol, rule engine, chain, hyperparameters, trees."""
