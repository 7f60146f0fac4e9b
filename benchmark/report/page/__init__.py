"""The leaderboard as one HTML file that needs nothing else: template, style and script lie here."""
