"""Passwords are hashed with bcrypt, as etcd does, so that users move with a snapshot from one to the other.

Hashing takes a twentieth of a second on purpose: it is done in threads, and no more than a few at a time, so that
guessing costs the guesser and nobody else. bcrypt is imported where it is used: a store without users does not need it.
"""

from __future__ import annotations

import asyncio

ROUNDS = 10
"""As etcd's default: so many times is the work doubled."""
BYTES_MAX = 72
"""What bcrypt looks at."""
AT_ONCE = 2


class Passwords:
    """Hashes and checks; one for a member."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def hash(self, password: str) -> str:
        """Return a salted hash."""
        import bcrypt

        def work() -> str:
            return bcrypt.hashpw(password.encode()[:BYTES_MAX], bcrypt.gensalt(ROUNDS, b"2a")).decode()

        async with self._turns:
            return await asyncio.to_thread(work)

    async def is_right(self, password: str, hashed: bytes) -> bool:
        """Whether it is the password that the hash was made of."""
        import bcrypt

        def work() -> bool:
            try:
                return bcrypt.checkpw(password.encode()[:BYTES_MAX], hashed)
            except ValueError:
                return False  # no hash that bcrypt made

        async with self._turns:
            return await asyncio.to_thread(work)
