// Goal: a person who opens the page, types a prompt and presses the button sees a picture appear, and finds it again
// after a reload. Method: a real browser against a real cluster with a tiny model.
using Microsoft.Playwright;
using Xunit;

namespace Atelier.EndToEnd;

[Collection("clusters")]
public sealed class PageTests
{
    private const string Browser = "/usr/bin/chromium";

    [Fact]
    public async Task APrompt_BecomesAPicture_AndStaysInTheHistory()
    {
        Assert.True(File.Exists(Browser), $"The browser {Browser} is missing: ./atelier test installs it.");
        await using var cluster = new TestCluster(silos: 1, embedded: true, evaluationMilliseconds: 10);
        await cluster.StartAsync();
        using HttpClient client = await cluster.TenantAsync();
        string key = client.DefaultRequestHeaders.Authorization!.Parameter!;
        using IPlaywright playwright = await Playwright.CreateAsync();
        await using IBrowser browser = await playwright.Chromium.LaunchAsync(
            new() { ExecutablePath = Browser, Headless = true });
        IPage page = await browser.NewPageAsync();
        var faults = new List<string>();
        page.PageError += (_, error) => faults.Add(error);

        // Without a key the page asks for one, and reports a wrong one.
        await page.GotoAsync(cluster.Url.ToString());
        await page.FillAsync("#key", "atl_tenant_wrong");
        await page.ClickAsync("#key-form button");
        await Assertions.Expect(page.Locator("#key-error")).ToContainTextAsync("key");

        await page.GotoAsync("about:blank");
        await page.GotoAsync($"{cluster.Url}#key={key}");
        await page.FillAsync("#prompt", "the red the blue");
        await page.PressAsync("#prompt", "Control+Enter");
        await Assertions.Expect(page.Locator("#facts")).ToContainTextAsync("seed", new() { Timeout = 60_000 });
        await Assertions.Expect(page.Locator("#picture")).ToHaveAttributeAsync("alt", "the red the blue");
        Assert.True(await page.EvaluateAsync<bool>("document.getElementById('picture').naturalWidth > 0"));
        Assert.DoesNotContain(key, page.Url, StringComparison.Ordinal);

        await page.ReloadAsync();
        await Assertions.Expect(page.Locator("#history .caption")).ToHaveTextAsync("the red the blue");
        await Assertions.Expect(page.Locator("#history img")).ToHaveCountAsync(1);
        Assert.Empty(faults);
    }

    [Fact]
    public async Task ALinkWithAnotherKey_AsksBeforeItReplacesOne()
    {
        await using var cluster = new TestCluster(silos: 1, embedded: true, evaluationMilliseconds: 10);
        await cluster.StartAsync();
        using HttpClient alice = await cluster.TenantAsync("alice"), mallory = await cluster.TenantAsync("mallory");
        string own =
            alice.DefaultRequestHeaders.Authorization!.Parameter!, other =
                mallory.DefaultRequestHeaders.Authorization!.Parameter!;
        using IPlaywright playwright = await Playwright.CreateAsync();
        await using IBrowser browser = await playwright.Chromium.LaunchAsync(
            new() { ExecutablePath = Browser, Headless = true });
        IPage page = await browser.NewPageAsync();
        async Task FollowAsync(string key)
        {
            await page.GotoAsync("about:blank");
            await page.GotoAsync($"{cluster.Url}#key={key}");
        }

        async Task KeepsAsync(string key, bool asks)
        {
            Assert.Equal(key, await page.EvaluateAsync<string>("localStorage.getItem('atelier.key')"));
            Assert.DoesNotContain("key=", page.Url, StringComparison.Ordinal);
            await Assertions.Expect(page.Locator("#other-key")).ToBeVisibleAsync(new() { Visible = asks });
            await Assertions.Expect(page.Locator("#studio")).ToBeVisibleAsync(new() { Visible = !asks });
        }

        // The first key, and the same key again: no question.
        await FollowAsync(own);
        await Assertions.Expect(page.Locator("#studio")).ToBeVisibleAsync();
        await FollowAsync(own);
        await Assertions.Expect(page.Locator("#studio")).ToBeVisibleAsync();
        await KeepsAsync(own, asks: false);

        // A different key: the old one is kept, whether the person chooses it, closes the question, or leaves without
        // an answer.
        foreach (string answer in new[] { "button", "Escape", "leave" })
        {
            await FollowAsync(other);
            await Assertions.Expect(page.Locator("#other-tenant")).ToHaveTextAsync("mallory");
            await Assertions.Expect(page.Locator("#own-tenant")).ToHaveTextAsync("alice");
            await KeepsAsync(own, asks: true);
            await (answer switch
            {
                "button" => page.ClickAsync("#keep"),
                "Escape" => page.Keyboard.PressAsync("Escape"),
                _ => page.GotoAsync(cluster.Url.ToString()),
            });
            await Assertions.Expect(page.Locator("#studio")).ToBeVisibleAsync();
            await KeepsAsync(own, asks: false);
        }

        // The same in a page that is already open.
        await page.EvaluateAsync($"location.hash = 'key={other}'");
        await Assertions.Expect(page.Locator("#other-key")).ToBeVisibleAsync();
        await KeepsAsync(own, asks: true);
        await page.ClickAsync("#replace");
        await Assertions.Expect(page.Locator("#studio")).ToBeVisibleAsync();
        await KeepsAsync(other, asks: false);
    }

    [Fact]
    public async Task TheDocumentation_IsShown_UnderRulesOfItsOwn()
    {
        await using var cluster = new TestCluster(silos: 1, embedded: true, evaluationMilliseconds: 10);
        await cluster.StartAsync();
        using IPlaywright playwright = await Playwright.CreateAsync();
        await using IBrowser browser = await playwright.Chromium.LaunchAsync(
            new() { ExecutablePath = Browser, Headless = true });
        IPage page = await browser.NewPageAsync();
        var refused = new List<string>();
        page.Console += (_, message) => refused.Add(message.Text);
        IResponse answer = (await page.GotoAsync($"{cluster.Url}docs/"))!;
        Assert.Contains(
            "frame-ancestors 'none'", await answer.HeaderValueAsync("content-security-policy"),
            StringComparison.Ordinal);
        await Assertions.Expect(page.GetByText("/v1/images/generations").First).ToBeVisibleAsync(
            new() { Timeout = 30_000 });
        Assert.DoesNotContain(
            refused, text => text.Contains("Content Security Policy", StringComparison.OrdinalIgnoreCase));
    }
}
