// The program that fetches a published model from the blob store before a silo starts, such as in an init container.
using Atelier.Configuration;
using Atelier.Contracts;
using Atelier.Grains.Ports;
using Atelier.Model;
using Atelier.ServiceDefaults;
using Atelier.Silo.Blobs;
using Atelier.Silo.Models;

namespace Atelier.Silo.Hosting;

/// <summary>The command fetch-model of the silo's program.</summary>
public static class FetchModel
{
    /// <summary>The command's name: the first argument of the program.</summary>
    public const string Name = "fetch-model";

    private const int Failed = 1;
    private const int WrongArguments = 2;

    /// <summary>
    /// Fetches a model. The blob store is configured as a silo's: by the keys of the section Blobs.
    /// </summary>
    /// <param name="args">--digest, --to and, if the model must have a certain name, --name.</param>
    /// <returns>The exit code: 0, 1 if the model could not be fetched, or 2 if the arguments are wrong.</returns>
    public static async Task<int> RunAsync(string[] args)
    {
        PrivateFiles.CloseNew();
        try
        {
            IConfigurationRoot configuration = new ConfigurationBuilder()
                .AddEnvironmentVariables().AddCommandLine(args).Build();
            if (configuration["to"] is not { Length: > 0 } folder || configuration["digest"] is not { } digest
                || !Digests.AreValid(digest))
            {
                await Console.Error.WriteLineAsync(
                    $"atelier: {Name} needs --to FOLDER and --digest SHA256, the model's digest of 64 lower-case "
                    + "hexadecimal digits; --name NAME is optional.");
                return WrongArguments;
            }

            await ModelFiles.FetchModelAsync(
                Blobs(configuration), digest, configuration["name"], folder, CancellationToken.None);
            Console.WriteLine($"The model {digest} is in {folder}.");
            return 0;
        }
        catch (InvalidConfigurationException error)
        {
            await Console.Error.WriteLineAsync($"atelier: {error.Message}");
            return WrongArguments;
        }
        catch (Exception error) when (error
            is InvalidDataException or RefusedFileException or IOException or UnauthorizedAccessException)
        {
            await Console.Error.WriteLineAsync($"atelier: The model was not fetched: {error.Message}");
            return Failed;
        }
    }

    private static IBlobStore Blobs(IConfiguration configuration)
    {
        var options = StartOptions.Read("silo", configuration, services => services
            .AddOptions<FolderBlobStoreOptions, FolderBlobStoreOptionsValidator>(configuration)
            .AddOptions<AzureBlobStoreOptions, AzureBlobStoreOptionsValidator>(configuration));
        AzureBlobStoreOptions azure = options.Get<AzureBlobStoreOptions>();
        return azure.IsUsed
            ? new AzureBlobStore(azure)
            : new FolderBlobStore(options.Get<FolderBlobStoreOptions>(), TimeProvider.System);
    }
}
