# Stands in for the completion of `pihole-FTL`.
