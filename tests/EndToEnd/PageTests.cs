// Goal: a person who opens the page, types words and presses the button sees a picture appear, and finds it again after a
// reload. Method: a real browser against a real cluster with a tiny model.
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
        await using IBrowser browser = await playwright.Chromium.LaunchAsync(new() { ExecutablePath = Browser, Headless = true });
        IPage page = await browser.NewPageAsync();
        var faults = new List<string>();
        page.PageError += (_, error) => faults.Add(error);

        // Without a key there is a door, and a wrong key is told so.
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
}
