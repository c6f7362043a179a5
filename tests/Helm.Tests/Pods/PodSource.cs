// What pods refer to: secrets, config maps and volumes of a rendering, and the fields of the downward API.
using System.Text;
using System.Text.RegularExpressions;
using k8s.Models;
using Xunit;

namespace Atelier.Helm.Tests.Pods;

/// <summary>The objects of a rendering that pods refer to. Volumes are folders below the given one.</summary>
internal sealed partial class PodSource(Rendering rendering, string folder)
{
    private string _model = Repository.InRoot("models/shapes");

    /// <summary>Changes a secret's value; null removes the key.</summary>
    public void SetSecret(string secret, string key, string? value)
    {
        IDictionary<string, byte[]> data = Secret(secret)!.Data;
        data.Remove(key);
        if (value is not null)
        {
            data[key] = Encoding.UTF8.GetBytes(value);
        }
    }

    /// <summary>Makes the model a copy that lacks a file.</summary>
    public void SpoilModel(string without)
    {
        string copy = Path.Combine(folder, "spoiled");
        Directory.CreateDirectory(copy);
        foreach (string file in Directory.GetFiles(_model).Where(file => Path.GetFileName(file) != without))
        {
            File.Copy(file, Path.Combine(copy, Path.GetFileName(file)));
        }

        _model = copy;
    }

    /// <summary>A value of a secret.</summary>
    public string SecretOf(string secret, string key) => Encoding.UTF8.GetString(Secret(secret)!.Data[key]);

    /// <summary>Variables of a container.</summary>
    /// <exception cref="InvalidOperationException">
    /// A reference leads nowhere; Kubernetes does not start the container then.
    /// </exception>
    public Dictionary<string, string> Variables(V1Container container, string pod, string address)
    {
        var variables = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (V1EnvVar variable in container.Env ?? [])
        {
            variables[variable.Name] = variable.ValueFrom switch
            {
                null => Expand(variable.Value ?? "", variables),
                { FieldRef.FieldPath: "metadata.name" } => pod,
                { FieldRef.FieldPath: "status.podIP" } => address,
                { SecretKeyRef: { } key } => Secret(key.Name)?.Data?.TryGetValue(key.Key, out byte[]? value) == true
                    ? Encoding.UTF8.GetString(value)
                    : throw new InvalidOperationException($"couldn't find key {key.Key} in Secret {key.Name}"),
                _ => throw new NotSupportedException($"The source of {variable.Name} is not one that pods get here."),
            };
        }

        return variables;
    }

    /// <summary>Replaces references to variables: $(NAME).</summary>
    public static string Expand(string text, Dictionary<string, string> variables) => Reference().Replace(
        text, match => variables.GetValueOrDefault(match.Groups["name"].Value, match.Value));

    /// <summary>Folders of a pod's volumes, by their names.</summary>
    /// <param name="spec">The pod.</param>
    /// <param name="pod">Its name.</param>
    /// <param name="claims">Names of the volumes that are claims of this pod alone.</param>
    public async Task<Dictionary<string, string>> VolumesAsync(V1PodSpec spec, string pod, IEnumerable<string> claims)
    {
        var folders = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (string claim in claims)
        {
            folders[claim] = await MakeAsync($"claims/{claim}-{pod}", "2775", spec);
        }

        foreach (V1Volume volume in spec.Volumes ?? [])
        {
            folders[volume.Name] = volume switch
            {
                { EmptyDir: not null } => await MakeAsync($"pods/{pod}/{volume.Name}", "2777", spec),
                { PersistentVolumeClaim: { } claim } => await MakeAsync($"claims/{claim.ClaimName}", "2775", spec),
                { Image: { } image } => ImageOf(image.Reference),
                _ => throw new NotSupportedException($"The volume {volume.Name} is not one that pods get here."),
            };
        }

        return folders;
    }

    /// <summary>The folder of a claim.</summary>
    public string ClaimFolder(string name) => Path.Combine(folder, "claims", name);

    /// <summary>Deletes the volumes that live as long as the pod.</summary>
    public void Remove(string pod)
    {
        string own = Path.Combine(folder, "pods", pod);
        if (Directory.Exists(own))
        {
            Directory.Delete(own, recursive: true);
        }
    }

    private V1Secret? Secret(string name) => rendering.All<V1Secret>().SingleOrDefault(secret => secret.Name() == name);

    // Volumes belong to the group that the pod names, and files in them inherit it.
    private async Task<string> MakeAsync(string name, string mode, V1PodSpec spec)
    {
        string path = Path.Combine(folder, name);
        Directory.CreateDirectory(path);
        (int code, _, string error) = await Tool.RunAsync(
            "sh", ["-c", "chown $1 $2 && chmod $3 $2", "sh", $"0:{spec.SecurityContext.FsGroup}", path, mode]);
        Assert.True(code == 0, error);
        return path;
    }

    // The only image that is mounted has the default model in its folder "model".
    private string ImageOf(string reference)
    {
        Assert.StartsWith("atelier-model-shapes:", reference, StringComparison.Ordinal);
        string path = Path.Combine(folder, "images", "shapes");
        Directory.CreateDirectory(path);
        if (!Path.Exists(Path.Combine(path, "model")))
        {
            Directory.CreateSymbolicLink(Path.Combine(path, "model"), _model);
        }

        return path;
    }

    [GeneratedRegex(@"\$\((?<name>\w+)\)")]
    private static partial Regex Reference();
}
