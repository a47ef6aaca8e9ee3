"""Pictures from the WaveSpeedAI API, for asyncio and trio: within the limits, none paid for twice."""
