"""The pages /docs and /problems in a browser: a visitor authorizes and tries operations.

(The tests aren't marked with `database`: one version of PostgreSQL is enough.)
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from tests.support.openapi_document import operations
from tests.support.processes import SECRET, TEST_TIMEOUT, served
from tests.support.reverse_proxies import SERVERS, run_recommended
from todo_service.auth.tokens import sign_token

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("browser")]  # one browser at a time


class Page:
    """A browser that shows the page."""

    def __init__(self, browser: Chrome, url: str) -> None:
        self.browser = browser
        browser.get(f"{url}/")
        self.wait(lambda: self.all(".opblock"))

    def wait(self, condition: Callable[[], Any]) -> Any:
        return WebDriverWait(self.browser, TEST_TIMEOUT).until(lambda _browser: condition())

    def all(self, selector: str) -> list[WebElement]:
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector: str) -> WebElement:
        found: WebElement = self.wait(lambda: next(iter(self.all(selector)), None))
        return found

    def click(self, selector: str) -> None:
        self.browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", self.one(selector))
        self.one(selector).click()

    def try_out(self, operation_id: str) -> str:
        """Executes an operation with the example values, and returns the status that the page shows."""
        block = f"[id$='-{operation_id}']"
        if not self.all(f"{block} .opblock-body"):
            self.click(f"{block} .opblock-summary-control")
            self.click(f"{block} .try-out__btn")
        else:
            self.click(f"{block} .btn-clear")
        self.click(f"{block} .execute")
        self.wait(lambda: not self.all(f"{block} .loading-container"))
        return self.one(f"{block} .live-responses-table .response .response-col_status").text.split()[0]

    def authorize(self, token: str) -> None:
        self.click(".btn.authorize")
        self.one(".auth-container input").send_keys(token)
        self.click(".auth-btn-wrapper .authorize")
        self.click(".auth-btn-wrapper .btn-done")

    def browser_errors(self) -> list[str]:
        log = self.browser.get_log("browser")  # type: ignore[no-untyped-call]
        return [entry["message"] for entry in log]


def assert_problems_page_is_styled(browser: Chrome, url: str) -> None:
    browser.get(f"{url}#start-over")
    section = browser.find_element(By.ID, "start-over")
    assert section.is_displayed()
    heading = section.find_element(By.TAG_NAME, "h2")
    assert heading.value_of_css_property("background-color") == "rgba(255, 243, 191, 1)"
    assert browser.get_log("browser") == []  # type: ignore[no-untyped-call]


@pytest.fixture
def token() -> str:
    return sign_token(SECRET, "demo", days=1)


def test_the_docs_page_with_a_token_creates_a_task_at_the_first_click(
    browser: Chrome, service_database_url: str, tmp_path: Path, token: str
) -> None:
    with served(tmp_path / "log", DATABASE_URL=service_database_url, EMBEDDED_DOCS_TOKEN=token) as (_, url):
        page = Page(browser, url)
        assert browser.current_url == f"{url}/docs"
        listed = {(block.get_attribute("id") or "").rpartition("-")[2] for block in page.all(".opblock")}
        assert listed == {operation["operationId"] for _, _, operation in operations()}
        assert page.try_out("create_task") == "201"
        assert page.try_out("list_tasks") == "200"
        browser.refresh()
        page.one(".opblock")
        assert page.browser_errors() == []


def test_the_docs_page_of_a_deployed_service_requires_a_token(
    browser: Chrome, service_database_url: str, tmp_path: Path, token: str
) -> None:
    with served(tmp_path / "log", DATABASE_URL=service_database_url) as (_, url):
        page = Page(browser, url)
        assert page.try_out("create_task") == "401"
        page.authorize(token)
        assert page.try_out("create_task") == "201"
        assert [text for text in page.browser_errors() if "401" not in text] == []  # a browser logs each 401


@pytest.mark.parametrize("server", SERVERS)
def test_the_pages_work_below_a_path_of_a_proxy(
    browser: Chrome, service_database_url: str, tmp_path: Path, token: str, server: str
) -> None:
    with (
        served(tmp_path / "log", DATABASE_URL=service_database_url) as (_, service),
        run_recommended(server, service, path="/todo/") as url,
    ):
        page = Page(browser, url.rstrip("/"))
        assert browser.current_url == f"{url}docs"
        page.authorize(token)
        assert page.try_out("create_task") == "201"
        assert page.try_out("list_tasks") == "200"
        assert page.browser_errors() == []
        links = {link.get_attribute("href") for link in page.all(".info a")}
        assert f"{url}problems" in links
        assert_problems_page_is_styled(browser, f"{url}problems")


def test_the_problems_page_is_styled_without_browser_errors(
    browser: Chrome, service_database_url: str, tmp_path: Path
) -> None:
    with served(tmp_path / "log", DATABASE_URL=service_database_url) as (_, url):
        assert_problems_page_is_styled(browser, f"{url}/problems")
