"""The practice site's bot walls: what vendors serve instead of a page, shortened to its marks."""

from __future__ import annotations

from typing import NamedTuple

from loadtests.site_pages import HTML


class Wall(NamedTuple):
    """An answer as a vendor would give it."""

    status: int
    body: str
    headers: dict[str, str] = {}
    content_type: str = HTML


def _page(title: str, body: str) -> str:
    return f"<!DOCTYPE html><html><head><title>{title}</title></head><body>{body}</body></html>"


WALLS: dict[str, Wall] = {
    "cloudflare": Wall(
        403,
        _page(
            "Just a moment...",
            "<noscript>Enable JavaScript and cookies to continue</noscript>"
            "<script>window._cf_chl_opt = {cvId: '3', cZone: 'shop.test'};"
            "a.src = '/cdn-cgi/challenge-platform/h/b/orchestrate/chl_page/v1?ray=8f';</script>",
        ),
        {"cf-mitigated": "challenge"},
    ),
    "cloudflare-503": Wall(
        503,
        _page(
            "Just a moment...",
            '<form id="challenge-form" method="POST"><input name="md" type="hidden"></form>'
            "<script>window._cf_chl_opt={cvId: '2'};</script>",
        ),
    ),
    "cloudflare-block": Wall(
        403,
        _page(
            "Attention Required! | Cloudflare",
            '<div id="cf-error-details"><h1>Sorry, you have been blocked</h1></div>',
        ),
    ),
    "datadome": Wall(
        403,
        _page(
            "shop.test",
            "<p id='cmsg'>Please enable JS and disable any ad blocker</p><script>"
            "var dd={'rt':'c','cid':'AHrlq','host':'geo.captcha-delivery.com'}</script>"
            '<script src="https://ct.captcha-delivery.com/c.js"></script>',
        ),
    ),
    "datadome-json": Wall(
        403,
        '{"url":"https://geo.captcha-delivery.com/captcha/?initialCid=AHrlq"}',
        content_type="application/json",
    ),
    "human": Wall(
        403,
        _page(
            "Access to this page has been denied",
            '<div id="px-captcha"></div><script>window._pxAppId = "PXtest";</script>',
        ),
    ),
    "imperva": Wall(
        200,
        '<html style="height:100%"><head><META NAME="ROBOTS" CONTENT="NOINDEX, NOFOLLOW">'
        '</head><body><iframe id="main-iframe" src="/_Incapsula_Resource?CWUDNSAI=9&xinfo=0"'
        ">Request unsuccessful. Incapsula incident ID: 1-2</iframe></body></html>",
    ),
    "imperva-pardon": Wall(
        200, _page("Pardon Our Interruption", "<p>Something about your browser looked odd.</p>")
    ),
    "akamai": Wall(
        403,
        "<HTML><HEAD>\n<TITLE>Access Denied</TITLE>\n</HEAD><BODY>\n<H1>Access Denied</H1>\n"
        "You don't have permission to access this server.<P>\n"
        "Reference&#32;&#35;18&#46;2d351ab8\n</BODY>\n</HTML>\n",
    ),
    "akamai-challenge": Wall(
        200, _page("&nbsp;", '<div id="sec-if-cpt-container" style="margin: auto"></div>')
    ),
    "aws-challenge": Wall(202, "", {"x-amzn-waf-action": "challenge"}),
    "aws-captcha": Wall(
        405, _page("Human Verification", "<div></div>"), {"x-amzn-waf-action": "captcha"}
    ),
    "amazon": Wall(
        200,
        _page(
            "Amazon.test",
            "<h4>Enter the characters you see below</h4>"
            '<form method="get" action="/errors/validateCaptcha"><input type="text"></form>',
        ),
    ),
    "google": Wall(
        429,
        _page(
            "https://www.shop.test/search",
            '<form id="captcha-form" action="index" method="post"></form>'
            "Our systems have detected unusual traffic from your computer network.",
        ),
    ),
    "captcha": Wall(
        200,
        _page(
            "Security check",
            '<form method="post"><div class="g-recaptcha" data-sitekey="k"></div>'
            '<input type="hidden" name="next"><input type="submit"></form>',
        ),
    ),
}
