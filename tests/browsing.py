"""A real browser for tests: Debian's Chromium, and windows in which nothing may go wrong."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright, expect

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update"
PASSWORD = "pass"
REFUSED = "409"
"""Chromium and htmx say on the console what a server refuses, also what a test wants to be refused."""
expect.set_options(timeout=20_000)


@asynccontextmanager
async def a_browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS.split())
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def visiting(
    browser: Browser, url: str, *, scheme: Any = "light", width: int = 1400, let_be: str = REFUSED
) -> AsyncIterator[Page]:
    """Open a window; whatever goes wrong in its scripts, or is loaded from elsewhere, fails the test. `let_be`: what the browser may write."""
    problems: list[str] = []
    context = await browser.new_context(
        base_url=url,
        viewport={"width": width, "height": 900},
        color_scheme=scheme,
    )
    context.set_default_navigation_timeout(90_000)  # the first page is slow where many tests run side by side

    def note(line: ConsoleMessage) -> None:
        if line.type == "error" and let_be not in line.text:
            problems.append(line.text)

    opened = await context.new_page()
    await opened.goto("/")
    if "/signin" in opened.url:
        await opened.get_by_label("User").fill("admin")
        await opened.get_by_label("Password").fill(PASSWORD)
        await opened.get_by_role("button", name="Sign in").click()
        await expect(opened.get_by_role("heading", name="Overview", exact=True)).to_be_visible()
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("console", note)
    opened.on("request", lambda asked: None if asked.url.startswith(url) else problems.append(asked.url))
    yield opened
    await context.close()
    assert problems == []
