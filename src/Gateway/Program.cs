// The gateway: who calls, what they may, and where it goes. It holds nothing: any number may run.
using Atelier.ServiceDefaults;

var builder = WebApplication.CreateBuilder(args);
builder.AddServiceDefaults();
WebApplication app = builder.Build();
app.MapServiceDefaults();
await app.RunAsync();
